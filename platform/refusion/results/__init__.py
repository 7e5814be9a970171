"""The results page: tables and pictures made anew from the CSV files of evaluations, ablations and audits."""
