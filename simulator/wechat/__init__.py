"""WeChat Pay API v3, direct merchant, native payments: the wire format of the provider's side.

Source: WeChat's merchant documents (pay.weixin.qq.com/doc/v3/merchant). `wire` signs, verifies and encrypts, `fields`
reads request bodies, `words` turns the books into WeChat's JSON, `notices` composes messages, `api` answers requests,
`channel` ties them together. Called by `simulator.server` only through world.Channel.
"""
