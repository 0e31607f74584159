"""Facts, expressions, decision tables and limits on plain values; the only package that knows rule-engine."""
