"""Scan to collect (扫码收款): a person scans a code and pays straight into the merchant's own WeChat or Alipay account.

Owns: the merchants' receiving accounts (bindings) with their approval, the codes, the collections and what the CRM is
told of them. Called by the API and the admin; calls identity (who is who).
Tables: Binding, BindingEvent, Code, Collection, CrmRecord, Manager, DayFigure (database `default`).
Invariants: nobody approves a binding he made, and an approved one keeps its numbers (triggers); one binding in use per
enterprise and channel; a code that serves once has at most one open or paid collection; nothing is deleted; the figures
of a day are what its collections were paid and gave back (triggers).
"""
