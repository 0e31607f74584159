"""Programs that measure the platform against baselines of the same run: ratios, not rates of one machine.

Owns nothing; nothing imports it. Calls services and selectors as views and jobs do, and the tables of funds and orders
where a baseline has to be built from them. Works only in databases of its own, named like the configured ones with
`_bench` behind, made before and dropped after a run. How to start them: benchmarks/README.md.
"""
