"""What agents keep between runs: scopes, where each lies, and the tools that read and write them."""
