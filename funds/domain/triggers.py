"""Words of the database's own refusals, shared by the migrations that write them and the code that reads them."""

DAY_IS_CLOSED = "the day of this journal is closed"
