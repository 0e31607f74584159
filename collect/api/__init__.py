"""HTTP interface of scan to collect (design api.md): the merchants' REST endpoints and the payers' pages."""
