"""Provide what every process needs: storage, environment, interrupts, memory settings, engines that run work."""
