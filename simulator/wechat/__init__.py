"""WeChat Pay API v3, direct merchant, as the provider sees it: payments (native, jsapi, h5), refunds, transfers, bills.

Source: WeChat's merchant documents (pay.weixin.qq.com/doc/v3/merchant). `wire` signs, verifies and encrypts, `fields`
reads request bodies, `words` turns the books into WeChat's JSON, `notices` composes messages, `api` answers requests
with `transfers` and `bill_desk`, `bill_files` writes the day's files, `channel` ties them together. `legacy` is v2's
企业付款, on a TLS port of its own. Called by `simulator.server` only.
"""
