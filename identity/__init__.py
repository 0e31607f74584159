"""Enterprises, employees, their groups and log-ins.

Called by every app above for "who is this"; calls foundation. Tables (role default): Enterprise, Employee, AccessToken,
Group, GroupMember. Invariants: an employee code is unique in its enterprise; tokens are stored hashed, expire and can
be revoked; a group's members are of its enterprise.
"""
