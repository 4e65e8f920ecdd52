"""An import contract that finds the families by their shape, so that a new folder is checked without being named."""

from grimp import ImportGraph, Layer
from importlinter import Contract, ContractCheck, fields, output


class FamiliesContract(Contract):
    """Families are siblings that import the kit and not each other; the kit imports none of them.

    Configuration
    -------------
    package : whose folders are looked at
    mark : module that makes a folder a family
    above : may import families
    kit : what families may import; together with families and ``above`` it is all of the package
    """

    type_name = "families"

    package = fields.StringField()
    mark = fields.StringField()
    above = fields.ListField(subfield=fields.StringField())
    kit = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Look for imports that go up, or aside."""
        children = graph.find_children(self.package)
        families = {each for each in children if f"{each}.{self.mark}" in graph.find_children(each)}
        layers = [set(self.above), families, set(self.kit)]
        wrong = graph.find_illegal_dependencies_for_layers(
            [
                Layer(*self.above, independent=False),
                Layer(*families, independent=True),
                Layer(*self.kit, independent=False),
            ]
        )
        nowhere = children - set.union(*layers)
        return ContractCheck(
            kept=bool(families) and not wrong and not nowhere, metadata={"wrong": wrong, "nowhere": nowhere}
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Say which imports are wrong, by file and line, and which modules are in no layer."""
        for each in sorted(check.metadata["nowhere"]):
            output.print_error(f"{each} is neither a family (a folder with {self.mark}) nor named in kit or above")
        for each in check.metadata["wrong"]:
            output.print_error(f"{each.imported} is imported from {each.importer}:")
            for route in each.routes:
                output.print_error("  " + " -> ".join(route.middle or (*route.heads, *route.tails)))
