"""The commands of `dropx`: their arguments, a file each."""
