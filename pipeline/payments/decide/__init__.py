"""What is to be paid: rules over balances and thresholds."""
