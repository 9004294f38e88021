"""Writes the tickets of USER with PASSWORD in REALM to the ticket file FILE, with the smb.conf CONFIGURATION."""
import sys

from samba.credentials import MUST_USE_KERBEROS, Credentials
from samba.param import LoadParm

configuration, realm, user, password, file = sys.argv[1:]
settings = LoadParm()
settings.load(configuration)
credentials = Credentials()
credentials.guess(settings)
credentials.set_username(user)
credentials.set_password(password)
credentials.set_realm(realm)
credentials.set_kerberos_state(MUST_USE_KERBEROS)
credentials.get_named_ccache(settings, "FILE:" + file)
