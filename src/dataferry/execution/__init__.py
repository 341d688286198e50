"""The executor's sides. ``embedded`` runs attempts in threads of this process."""
