"""What can run a job of the lattice: a file for each package and job; `dualtk.lattice.engines` chooses among them."""
