"""What personal data a request holds is masked before it leaves, and put back into its answer."""
