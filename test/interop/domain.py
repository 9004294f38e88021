"""Adds the accounts of the tests to the Samba domain whose smb.conf is CONFIGURATION.

Exports the keytab of the first name in SERVICES to KEYTAB, and the keys of everybody to ALL. Each further argument is USER:PASSWORD; the
first one gets the names of the service.
"""
import sys

import ldb
import samba.dckeytab  # adds export_keytab to Net
from samba.auth import system_session
from samba.credentials import Credentials
from samba.net import Net
from samba.param import LoadParm
from samba.samdb import SamDB

configuration, keytab, everybody, services, *accounts = sys.argv[1:]
settings = LoadParm()
settings.load(configuration)
database = SamDB(session_info=system_session(), lp=settings)

# AES alone, with keys of 128 and of 256 bits. Without it a keytab has an RC4 key alone.
AES = "24"


def change(user, **values):
    message = ldb.Message(database.search(expression="(sAMAccountName=%s)" % user, attrs=["dn"])[0].dn)
    for name, value in values.items():
        name = name.replace("_", "-")
        message[name] = ldb.MessageElement(value, ldb.FLAG_MOD_REPLACE, name)
    database.modify(message)


for number, account in enumerate(accounts):
    user, password = account.split(":", 1)
    database.newuser(user, password)
    values = {"msDS_SupportedEncryptionTypes": AES}
    if number == 0:
        values["servicePrincipalName"] = services.split(",")
    change(user, **values)
    if number == 0:
        # The keys were made for the old name, and are made again with each password.
        database.setpassword("(sAMAccountName=%s)" % user, password)

credentials = Credentials()
credentials.guess(settings)
domain = Net(creds=credentials, lp=settings)
domain.export_keytab(keytab=keytab, principal=services.split(",")[0])
domain.export_keytab(keytab=everybody)
