"""Provide what every process needs: storage, environment, engines, memory, interrupts."""
