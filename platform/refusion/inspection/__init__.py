"""A data set looked at before anything is trained on it: measures of pairs, a report, a contact sheet, links."""
