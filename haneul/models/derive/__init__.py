"""Models made of models here: converted, quantised, merged; each with its parent and its loss."""
