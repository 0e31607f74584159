"""Alipay open platform, direct merchant: the wire format of the provider's side.

Source: Alipay's documents (opendocs.alipay.com) and design `providers.md` 5. `keys` makes keys and certificates, `wire`
signs and verifies, `fields` reads biz_content, `words` turns the books into Alipay's parameters, `notices` composes
messages, `bills` writes the day's files, `api` answers gateway.do, `channel` ties them together. Called by
`simulator.server` only through world.Channel.
"""
