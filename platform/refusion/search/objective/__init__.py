"""Scores of trials: metrics, their ranks, and the scoreboard."""
