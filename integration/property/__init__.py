"""Any valid request of a client's schema is translated without loss, or refused by the path of a field that it has."""
