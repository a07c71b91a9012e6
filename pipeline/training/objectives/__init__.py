"""What a classifier's training makes small: one file an objective, all of the same form.

`base.Objective` says what they are given. The adversarial ones (`pgd`, `trades`) look for worse
pictures first, by the few steps of `inner.InnerAttack`.
"""
