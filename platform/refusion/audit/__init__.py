"""Audit of rewards: does a reward prefer the pictures that quality metrics prefer?"""
