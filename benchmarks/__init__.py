"""What `make bench` runs: every operator and loss beside its plain reference."""
