"""Prepared views of MLflow's page: an experiment opened by their address shows scores and pictures without a click."""
