"""A world whose clusters are known to carry the label, and trainings in it: when does an unlabelled pool help?"""
