"""Fusing of many pairs: what is to be made, by whom and where, and the list of what was made of what."""
