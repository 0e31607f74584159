"""What reconciliation decides on plain values: reading bills, matching them. No Django, clock or database."""
