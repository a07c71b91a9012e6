"""What only AutoAttack's ensembles are made of."""
