"""What a trial is judged by: metrics, their ranks, and the scoreboard."""
