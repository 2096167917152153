"""The third storey: runs become a verdict. It imports no framework."""
