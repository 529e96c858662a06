"""Who speaks when: speech segmentation, endpointing and the turn machine. Sans-I/O."""
