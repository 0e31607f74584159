import uuid, itertools, time, pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from funds.domain import movements
from funds.domain.entries import employee_account
from funds.services import ledger
from funds.models import Account
from foundation import clock
pytestmark = pytest.mark.usefixtures("committed_db")
ids = itertools.count(uuid.uuid4().int % 10**9 + 10**9)
def one():
    n = next(ids); return employee_account(n, n)
def post(e): return ledger.in_transaction(lambda: ledger.post(entry=e, now=clock.now()))
def rec(o, a):
    n = uuid.uuid4().hex
    e = movements.recharge_into_hold(order_no=n, attempt_no=n, channel="wechat", owner=o, amount_fen=a, hold_key="k"+n)
    return e, "k"+n
def test_probe():
    s = one()
    c = connections["funds"]
    Account.objects.bulk_create([Account(owner_kind="EMPLOYEE", owner_id=str(next(ids)), code="2010", enterprise_id="1", created_at=clock.now()) for _ in range(5000)])
    e, k = rec(s, 4000)
    with CaptureQueriesContext(c, ) as q: post(e)
    print("recharge_into_hold", len(q)); [print("  ", x["sql"][:150]) for x in q]
    rs = [one() for _ in range(200)]
    for i in range(3):
        e = movements.settle_shares(reference=k+str(i), order_no="", sender=s, hold_key=k, receivers=[movements.Receiver(account=r, amount_fen=5) for r in rs])
        with CaptureQueriesContext(c) as q:
            t=time.perf_counter(); post(e); t=time.perf_counter()-t
        print("settle 200", len(q), round(t*1000), "ms")
        if i != 1: [print("  ", x["sql"][:100], x["time"]) for x in q]
    pks = list(Account.objects.order_by("-id").values_list("pk", flat=True)[:200])
    with c.cursor() as cur:
        for sql in ("SELECT * FROM funds_account WHERE (id, version) IN (%s)" % ",".join(f"({p},1)" for p in pks),
                    "SELECT * FROM funds_account WHERE id IN (%s) ORDER BY id FOR UPDATE" % ",".join(map(str, pks)),
                    "UPDATE funds_account SET version=version+1 WHERE (id, version) IN (%s)" % ",".join(f"({p},1)" for p in pks),
                    "UPDATE funds_account SET version=version+1 WHERE (id, version) IN ((%s,1),(%s,1))" % (pks[0],pks[1]),
                    "UPDATE funds_account SET version=version+1 WHERE id IN (%s) AND version = CASE id WHEN 1 THEN 2 END" % ",".join(map(str, pks))):
            cur.execute("EXPLAIN " + sql); print(sql[:70], [d for d in cur.fetchall()])
    o, p = one(), one()
    n=0; t=time.perf_counter()
    while time.perf_counter()-t < 3:
        e, _ = rec(o, 5); post(e); n+=1
    print("one thread posts/s", n/3)
