"""Pure statistics: paired ratios, intervals, steady state, sequential stopping."""
