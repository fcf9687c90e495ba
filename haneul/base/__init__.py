"""What every layer stands on: errors, units, identifiers, configuration, log, wire."""
