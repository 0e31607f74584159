"""Databases by role, the routers, transactions with bounded retry, and column types shared by the apps."""
