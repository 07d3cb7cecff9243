"""Which line of ipykernel the tests run on."""

import ipykernel

HAS_SUBSHELLS = ipykernel.version_info[0] >= 7
