"""Reports: the records that users get, and their forms as JSON and as text for people."""
