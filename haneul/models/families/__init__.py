"""What the catalogue is made of: its entries, how their files are read, and the files."""
