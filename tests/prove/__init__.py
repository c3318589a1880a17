"""The long proof: `make prove`."""
