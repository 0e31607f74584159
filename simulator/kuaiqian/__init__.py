"""99bill: RMB gateway, refunds, pay to bank account, card verification; the wire format of the provider's side.

Source: what public code of merchants shows; no document of 99bill was seen. `keys` holds the shared secrets, `wire`
signs, verifies, seals and parses, `fields` reads requests, `words` turns the books into 99bill's fields, `notices`
composes messages, `api` answers the merchant, `arrivals` the payer's browser, `channel` ties them together. Called by
`simulator.server` only through world.Channel.
"""
