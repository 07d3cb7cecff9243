"""Language models behind one small protocol: what is sent, what comes back, and who answers."""
