"""Learning on tensors; knows no domain. Importing this package imports no torch."""
