/*
Copyright 2026 The kubelock Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
*/

package memapi

import (
	"context"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
)

// rules are the CEL rules of a schema, compiled for a quick check whether all of them hold.
//
// If one does not hold, the caller uses the validator of k8s.io/apiextensions-apiserver, which returns the
// errors of a real server. It takes several times as long, because it builds the schema again for each
// field that a rule uses.
type rules struct {
	schema     common.Schema
	compiled   []cel.CompilationResult
	properties map[string]*rules
}

// compileRules compiles the rules of a schema. It returns nil if the schema has no rules, or has rules that
// only the validator supports: rules of elements, of allOf, or with an optional oldSelf.
func compileRules(s *structuralschema.Structural, root bool) *rules {
	if cel.NewValidator(s, root, celconfig.PerCallLimit) == nil {
		return nil
	}
	r := &rules{properties: map[string]*rules{}}
	if !r.compile(s, root) {
		return nil
	}
	return r
}

func (r *rules) compile(s *structuralschema.Structural, root bool) bool {
	hasRules := func(s *structuralschema.Structural) bool {
		return s != nil && cel.NewValidator(s, false, celconfig.PerCallLimit) != nil
	}
	if hasRules(s.Items) || s.XEmbeddedResource || s.ValueValidation != nil && len(s.ValueValidation.AllOf) > 0 ||
		s.AdditionalProperties != nil && hasRules(s.AdditionalProperties.Structural) {
		return false
	}
	for _, rule := range s.XValidations {
		if rule.OptionalOldSelf != nil && *rule.OptionalOldSelf {
			return false
		}
	}
	if len(s.XValidations) > 0 {
		compiled, err := cel.Compile(s, model.SchemaDeclType(s, root), celconfig.PerCallLimit,
			environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()), cel.StoredExpressionsEnvLoader())
		if err != nil {
			return false
		}
		for _, rule := range compiled {
			if rule.Error != nil || rule.Program == nil {
				return false
			}
		}
		known := s
		if root {
			known = model.WithTypeAndObjectMeta(s)
		}
		r.compiled, r.schema = compiled, keep(known)
	}
	for name, property := range s.Properties {
		if hasRules(&property) {
			r.properties[name] = &rules{properties: map[string]*rules{}}
			if !r.properties[name].compile(&property, false) {
				return false
			}
		}
	}
	return true
}

// hold reports whether all rules hold for obj. obj replaces old, unless old is nil. It subtracts the cost of
// the rules from the budget.
func (r *rules) hold(ctx context.Context, obj, old any, budget *int64) bool {
	if obj == nil {
		return true
	}
	if len(r.compiled) > 0 {
		variables := map[string]any{cel.ScopedVarName: common.UnstructuredToVal(obj, r.schema)}
		if old != nil {
			variables[cel.OldScopedVarName] = common.UnstructuredToVal(old, r.schema)
		}
		for _, rule := range r.compiled {
			if rule.UsesOldSelf && old == nil {
				continue
			}
			result, details, err := rule.Program.ContextEval(ctx, variables)
			if err != nil || details == nil || details.ActualCost() == nil {
				return false
			}
			if holds, ok := result.Value().(bool); !ok || !holds {
				return false
			}
			*budget -= int64(min(*details.ActualCost(), uint64(celconfig.RuntimeCELCostBudget)+1))
			if *budget < 0 {
				return false
			}
		}
	}
	fields, _ := obj.(map[string]any)
	before, _ := old.(map[string]any)
	for name, property := range r.properties {
		if value, ok := fields[name]; ok && !property.hold(ctx, value, before[name], budget) {
			return false
		}
	}
	return true
}

// kept is a schema that creates its parts only once.
type kept struct {
	common.Schema

	properties map[string]common.Schema
	items      common.Schema
}

func keep(s *structuralschema.Structural) common.Schema {
	k := &kept{Schema: &model.Structural{Structural: s}}
	if s.Properties != nil {
		k.properties = make(map[string]common.Schema, len(s.Properties))
		for name, property := range s.Properties {
			k.properties[name] = keep(&property)
		}
	}
	if s.Items != nil {
		k.items = keep(s.Items)
	}
	return k
}

// Properties implements common.Schema.
func (k *kept) Properties() map[string]common.Schema { return k.properties }

// Items implements common.Schema.
func (k *kept) Items() common.Schema { return k.items }
