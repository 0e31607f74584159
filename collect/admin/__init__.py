"""Staff's pages of scan to collect."""

from collect.admin import bindings as bindings
from collect.admin import crm as crm
from collect.admin import records as records
