"""Families of metrics, one file each: functions of the fused images (B,H,W) and the sources (2,B,H,W) on 0–255."""
