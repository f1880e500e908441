"""FIFO depths and cycles, from a simulation of the layers' schedules."""
