"""The ground: the words of every storey. It imports no framework."""
