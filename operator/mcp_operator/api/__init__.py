"""The custom resources as models, and the CRDs that follow from them."""
